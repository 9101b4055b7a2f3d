"""Documents and how they are rendered: HTML, Markdown, SVG, tables. Knows no command."""
