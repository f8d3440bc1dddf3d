"""torchvision's and timm's transforms into a `Pipeline`.

`from_torchvision` translates a whole, `translate_start` as much of its beginning as there is. Nothing is guessed:
classes are matched exactly (a subclass may do anything), and a parameter that can't be kept to the letter is refused.
Pixels are those of torchvision on PIL images, also where a transform stands behind the conversion to a tensor, whose
code in torchvision rounds values, and the places that nearest reads, otherwise (and cuts off what floats lack of a
byte, where bytes are made of them again).

| what | translated |
| --- | --- |
| containers | Compose of v1 and v2, nn.Sequential, lists, nested; RandomApply, RandomChoice, RandomOrder |
| conversions | ToTensor, PILToTensor, ToImage, ToPILImage, ToPureTensor, ConvertImageDtype, ToDtype, Identity |
| size | Resize, CenterCrop, RandomCrop, RandomResizedCrop, Pad |
| geometry | RandomHorizontalFlip, RandomVerticalFlip, RandomRotation, RandomAffine, RandomPerspective |
| colour | ColorJitter, RandomGrayscale, RandomPosterize, RandomSolarize, RandomInvert, RandomEqualize, |
| | RandomAutocontrast, RandomAdjustSharpness, GaussianBlur |
| policies | AutoAugment, RandAugment, TrivialAugmentWide, AugMix |
| finish | Normalize, RandomErasing, MixUp, CutMix |
| presets | the ImageClassification that comes with torchvision's weights |
| timm | RandomResizedCropAndInterpolation, MaybeToTensor, MaybePILToTensor, RandomErasing; |
| | AutoAugment `original`, `originalr`, `v0`, `v0r`; RandAugment `rand-...` with m, n, p, mstd, inc |

A class of one's own that does nothing but hand the image on, as `return self.transforms(image)`, is its inner chain.

Refused, among others: floats of 0 to 255 (ToDtype without scale) and float64; conversions and Normalize inside the
random containers; a second Normalize or mix; Grayscale and RGB, which change the number of channels; on tensors
resizing by nearest (nearest-exact is Pillow's) or without antialiasing; timm's AugMix, `3a`, `rand-...-t...`, infinite
`mstd`, ResizeKeepRatio and what pads or trims.

Behind Normalize only flips and RandomCrop without padding may stand, which it does not touch: they go before it.

`fill`, the threshold of RandomSolarize and the value of RandomErasing count 0 to 255 where the image is bytes there
and 0 to 1 where it is floats: they are brought to bytes, and refused where they lie between two of them. (Erasing by
other values on floats that nothing normalises makes the pipeline normalise by mean 0 and standard deviation 1.) MixUp
and CutMix draw once for each `mix_group` of a batch, and partners as `Mix` says.
"""

from augengine.translate.chain import Translated, from_torchvision, split_transforms, translate_start
from augengine.translate.place import Form, UnsupportedTransform

__all__ = ["Form", "Translated", "UnsupportedTransform", "from_torchvision", "split_transforms", "translate_start"]
