"""What the tables of results share: Markdown rows, and commits as they are shown."""


def markdown_table(rows):
    """Markdown of rows of texts, the header first."""
    header, *others = rows
    lines = [header, ["---"] * len(header), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---")


def short_commit(commit):
    """A whole commit cut to 7 digits, with what follows it, such as "-dirty"."""
    name, dash, rest = str(commit).partition("-")
    return f"{name[:7]}{dash}{rest}" if len(name) == 40 else str(commit)
