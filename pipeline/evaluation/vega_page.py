"""An HTML template for `dvc plots` that carries Vega itself, so that the page needs no network: `make plots`."""

import sys
from pathlib import Path

import vl_convert

# What the bundle does with its libraries: makes vegaEmbed, which DVC's plots call, visible to the page.
EVERYTHING = "window.vegaEmbed = vegaEmbed; window.vegaLite = vegaLite; window.vega = vega;"
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Plots</title>
{refresh_tag}
<script>%s</script>
<style>body { font-family: system-ui, sans-serif; margin: 2rem; }</style>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write_vega_page(out: Path) -> None:
    """Writes the template; DVC puts the plots where `{plot_divs}` stands and finds no place for its CDN scripts."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(PAGE.replace("%s", vl_convert.javascript_bundle(EVERYTHING).replace("</script", "<\\/script")))


if __name__ == "__main__":
    write_vega_page(Path(sys.argv[1]))
