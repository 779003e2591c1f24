"""Lines of JavaScript that events run in the browser; the rest is javascript/astolfo.js."""

from __future__ import annotations

LOADER = """() => {
  if (window.astolfoTab || document.getElementById("astolfo_script")) return [];
  const script = document.createElement("script");
  const src = new URL("astolfo/static/astolfo.js", document.baseURI);
  Object.assign(script, {id: "astolfo_script", type: "module", src});
  document.head.append(script);
  return [];
}"""
WAKE = "() => { if (window.astolfoTab) window.astolfoTab.wake(); return []; }"
REDRAW = "() => { if (window.astolfoTab) window.astolfoTab.redraw(); return []; }"
DRAWN = "() => { if (window.astolfoTab) window.astolfoTab.drawingEnds(); return []; }"
BARS = "() => { if (window.astolfoTab) window.astolfoTab.showBars(); return []; }"
