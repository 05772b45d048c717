#!/usr/bin/env python3
"""Writes the public interface to docs/interface.txt, one item a line, so that a change of it shows in a review.

    scripts/interface.py            writes it anew
    scripts/interface.py --check    compares, prints the difference, and exits with 1 if there is one

It reads the pages that `cargo doc` makes. It begins at the front page and follows the lists of items, so it sees what
users see: nothing that is `doc(hidden)`, and each item at the path that the documentation gives it.

A line has the path of the module or type, and then the declaration. Names of fdring have their whole paths, those of
other crates only the last part. An implementation of a trait is listed by its head and its associated types. Blanket
implementations and the methods that come by `Deref` are left out. A page that the script does not understand is an
error.
"""

import argparse
import difflib
import html.parser
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "interface.txt"
# A directory of its own: the documentation that people read may contain private items.
TARGET = ROOT / "target" / "interface"
HEAD = """\
# The public interface of fdring, for reviews. Made by scripts/interface.py from the pages of rustdoc {version}.
# A change here is a change for users: CHANGELOG.md says what they have to do.
"""
CHANGED = """
The public interface is not what docs/interface.txt says. If that is meant, run scripts/interface.py, read the
difference as a user would, commit it, and say in CHANGELOG.md what changes for users. If it is not meant, make the item
private (`pub(crate)`) or restore its signature.
"""
# Auto traits that user code can name, and relies on.
AUTO_TRAITS = {"Send", "Sync", "Unpin", "UnwindSafe", "RefUnwindSafe"}
# The lists of a page, by the beginning of the heading's id. Items below any other heading are an error.
TAKEN = ("implementations", "trait-implementations", "synthetic-implementations", "required-", "provided-",
         "implementors", "foreign-impls")
LEFT_OUT = ("blanket-implementations", "deref-methods", "fields", "variants", "aliased-type", "object-safety",
            "dyn-compatibility", "layout")
ITEM_LISTS = {"reexports", "modules", "structs", "enums", "functions", "constants", "types", "traits", "macros",
              "statics", "unions", "traitaliases", "attributes", "derives"}


class Page(html.parser.HTMLParser):
    """What one page of rustdoc says: its declaration, the items that it lists, and its code headers."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.path, self.declaration, self.items, self.headers = path, None, [], []
        self.heading, self.section = None, ""
        # What is being collected, until which end tag, and inside of what that is passed over.
        self.text, self.until, self.passed_over = None, None, None
        # A link whose text gives way to its path.
        self.in_path = False
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        kinds = (attributes.get("class") or "").split()
        if "section-header" in kinds and tag == "h2":
            self.heading = attributes["id"]
        if tag == "section":
            self.section = attributes.get("id", "")
        if self.text is None:
            begins = {"pre": "item-decl", "h3": "code-header", "h4": "code-header"}.get(tag) in kinds
            if begins or tag == "dt" and self.heading in ITEM_LISTS:
                self.text, self.until, self.href = "", tag, None
            return
        if tag == "div":
            self.text += " "  # before `where`
        if self.passed_over is None and (tag == "summary" or "tooltip" in kinds or "stab" in kinds):
            self.passed_over = tag
        if tag == "a":
            self.href = attributes.get("href")
            path = (attributes.get("title") or "").split(" ")[-1]
            # After `::` there is a path already, as in `V::Error`.
            if path.startswith("fdring::") and not self.text.endswith("::"):
                self.text += path
                self.in_path = True

    def handle_endtag(self, tag):
        if tag == "a":
            self.in_path = False
        if tag == self.passed_over:
            self.passed_over = None
        elif tag == "div" and self.text is not None:
            self.text += " "  # after an attribute
        if self.text is None or tag != self.until:
            return
        text, self.text = one_line(self.text), None
        if tag == "pre":
            # The first of them: an alias also shows what it stands for.
            self.declaration = self.declaration or text
        elif tag == "dt":
            self.items.append((self.heading, text, self.href))
        else:
            self.headers.append((self.heading, self.section, text))

    def handle_data(self, data):
        if self.text is not None and self.passed_over is None and not self.in_path:
            self.text += data


def one_line(text):
    """A declaration as if lines were endless."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r",? ?([)\]>])", r"\1", text).replace(", }", " }")
    return re.sub(r"([(\[<]) ", r"\1", text)


def parts(body):
    """What stands between the commas of the outermost level."""
    depth, begin = 0, 0
    for at, char in enumerate(body):
        is_arrow = char == ">" and body[at - 1] in "-="
        depth += (char in "([{<") - (char in ")]}>" and not is_arrow)
        if char == "," and depth == 0:
            yield body[begin:at].strip()
            begin = at + 1
    if body[begin:].strip():
        yield body[begin:].strip()


def declaration_lines(owner, path, kind, text):
    """The declaration of an item of `owner`, and a line for each of its fields or variants."""
    head, brace, body = text.partition(" {")
    if kind not in {"struct", "enum", "union", "trait"} or not brace or body.startswith(" /*"):
        return [f"{owner}  {text}"]
    lines = [f"{owner}  {head}"]
    if kind != "trait":  # the methods of a trait are code headers
        assert body.endswith("}"), f"a body that does not end: {text}"
        lines += [f"{path}  {part}" for part in parts(body[:-1])]
    return lines


def header_lines(page, path):
    """The implementations of a type's or trait's page and what is in them."""
    implementation, auto_traits = path, []
    for heading, section, text in page.headers:
        if heading is None or heading.startswith(LEFT_OUT):
            continue
        assert heading.startswith(TAKEN), f"{page.path}: an unknown list, {heading}"
        text = text.removesuffix(f" for {path}")
        if not section.startswith("impl-"):
            is_of_trait = " for " in implementation or re.search(r"  impl(<[^>]*>)? [A-Z]", implementation)
            if not is_of_trait or section.startswith("associated"):
                yield f"{implementation}  {text}"
        elif heading == "synthetic-implementations":
            auto_traits.append(re.sub(r"^impl(<.*?>)? | for .*", "", text))
        else:
            implementation = path if text == f"impl {path}" else f"{path}  {text}"
            is_inherent = " for " not in text and re.match(rf"impl(<.*>)? {path}\b", text)
            if not is_inherent and "StructuralPartialEq" not in text:
                yield implementation
    kept = [trait for trait in auto_traits if trait.lstrip("!") in AUTO_TRAITS]
    if kept:
        yield f"{path}  auto traits: {', '.join(kept)}"


def walk(folder, module):
    """The lines of a module and of all below it."""
    page = Page(folder / "index.html")
    assert page.items, f"{folder}/index.html lists nothing"
    for heading, text, href in page.items:
        if heading == "reexports":
            yield f"{module}  {text}"
        elif heading == "modules":
            yield f"{module}  pub mod {text.rpartition('::')[2]}"
            yield from walk(folder / text.rpartition("::")[2], text)
        else:
            item = Page(folder / href)
            assert item.declaration, f"{folder / href} has no declaration"
            yield from declaration_lines(module, text, href.partition(".")[0], item.declaration)
            yield from header_lines(item, text)


def interface():
    command = ["cargo", "doc", "--package", "fdring", "--lib", "--no-deps", "--all-features", "--locked", "--quiet"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"CARGO_TARGET_DIR": str(TARGET)}, check=True)
    lines = sorted(set(walk(TARGET / "doc" / "fdring", "fdring")))
    assert len(lines) > 200, f"only {len(lines)} items were found: the script has gone blind"
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    now = interface()
    version = subprocess.run(["rustdoc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    if not arguments.check:
        LIST.write_text(HEAD.format(version=version) + "".join(f"{line}\n" for line in now))
        return
    before = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    if before == now:
        print(f"The public interface is the one in docs/interface.txt: {len(now)} items.")
        return
    print("\n".join(difflib.unified_diff(before, now, "docs/interface.txt", "the sources", lineterm="", n=0)))
    print(CHANGED)
    sys.exit(1)


if __name__ == "__main__":
    main()
