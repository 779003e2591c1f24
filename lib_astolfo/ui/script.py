"""Lines of JavaScript that events run in the browser; the rest are the files in javascript/."""

from __future__ import annotations

LOADER = """() => {
  if (window.astolfoTab || document.getElementById("astolfo_script")) return [];
  for (const name of ["astolfo", "astolfo_curves", "astolfo_data", "astolfo_train", "astolfo_views"]) {
    const script = document.createElement("script");
    const src = new URL(`astolfo/static/${name}.js`, document.baseURI);
    Object.assign(script, {id: `${name}_script`, type: "module", async: false, src});
    document.head.append(script);
  }
  return [];
}"""
WAKE = "() => { if (window.astolfoTab) window.astolfoTab.wake(); return []; }"
REDRAW = "() => { if (window.astolfoTab) window.astolfoTab.redraw(); return []; }"
DRAWN = "() => { if (window.astolfoTab) window.astolfoTab.drawingEnds(); return []; }"
BARS = "() => { if (window.astolfoTab) window.astolfoTab.showBars(); return []; }"
