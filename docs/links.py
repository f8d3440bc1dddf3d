"""A hook of the site: links out of docs/ lead to the published repository, and are plain words where there is none."""

import re
from typing import Any

OUTWARD = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([A-Za-z.][^)#]*)(#[^)]*)?\)")
CODE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's text, its links to files of the repository, which the site does not hold, replaced."""

    def replaced(link: re.Match[str]) -> str:
        text, path, anchor = link[1], link[2], link[3] or ""
        inside = page.file.src_uri.count("/") >= link[0].count("../")
        if inside:
            return link[0]
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path}{anchor})" if config.repo_url else text

    parts = CODE.split(markdown)
    return "".join(part if part.startswith("```") else OUTWARD.sub(replaced, part) for part in parts)
