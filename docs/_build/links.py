"""MkDocs hook: files of the repository that a page links to by `](../` become part of the site."""

import re
from pathlib import Path

from mkdocs.structure.files import File

_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")
_FOLDER = "repository"


def on_files(files, config):
    """Add the linked files, under the folder `repository`."""
    root = Path(config.config_file_path).parent
    for page in Path(config.docs_dir).glob("*.md"):
        for linked in _OUTSIDE.findall(page.read_text()):
            name = f"{_FOLDER}/{linked}"
            if files.get_file_from_path(name) is None and (root / linked).is_file():
                files.append(File.generated(config, name, abs_src_path=str(root / linked)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let the links of pages beside `index.md` point to the added files."""
    if "/" in page.file.src_uri:
        return markdown
    return _OUTSIDE.sub(rf"]({_FOLDER}/\1", markdown)
