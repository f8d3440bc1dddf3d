"""Augmentation policies: published ones as data, `Policy` for one's own, and the transforms that draw from them."""

from augengine.policies.auto import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from augengine.policies.levels import PROFILES
from augengine.policies.policy import PUBLISHED, Policy

__all__ = ["PROFILES", "PUBLISHED", "AugMix", "AutoAugment", "Policy", "RandAugment", "TrivialAugmentWide"]
