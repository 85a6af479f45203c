"""Griffe extension: what docstrings write in reStructuredText, as the Markdown of the site.

Two things differ: a code block is announced by ``::``, and tables have borders of ``===``.
"""

import re

import griffe

_TABLE = re.compile(r"^( *)=+(?: +=+)+ *\n(?:.*\n)*?\1=+(?: +=+)+ *$", re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    def on_instance(self, *, obj, **kwargs):
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text):
    """Return the docstring with ``::`` as ``:`` and tables as code blocks."""
    text = _TABLE.sub(lambda table: re.sub("^", "    ", table.group(0), flags=re.MULTILINE), text)
    text = re.sub(r"^( *)::$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)
