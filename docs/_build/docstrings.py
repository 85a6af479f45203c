"""Griffe extension: what docstrings write in reStructuredText, as the Markdown of the site.

Three things differ: a code block is announced by ``::``, tables have borders of ``===``, and an
example of lines with ``>>>`` needs no fence.
"""

import re

import griffe

_TABLE = re.compile(r"^( *)=+(?: +=+)+ *\n(?:.*\n)*?\1=+(?: +=+)+ *$", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n *\S.*)*", re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    """Rewrite the docstring of each module, class, function and attribute."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text):
    """Return the docstring in Markdown, with tables and examples as code blocks."""
    text = _TABLE.sub(r"\1```text\n\g<0>\n\1```", text)
    text = _EXAMPLE.sub(r"\1```pycon\n\g<0>\n\1```", text)
    text = re.sub(r"^Example:$", "**Example**", text, flags=re.MULTILINE)
    text = re.sub(r"^( *)::$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)
