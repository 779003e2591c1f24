// Links from the tab to the page on which a study's pictures are looked at, and what that page sends to txt2img.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (window.astolfoCompare) return;
  window.astolfoCompare = true;
  const root = () => (window.gradioApp ? window.gradioApp() : document);
  const dark = () => Boolean(document.querySelector(".dark"));

  /** The page of a study: the id of its job. */
  function page(id) {
    return new URL(`astolfo/v1/studies/${encodeURIComponent(id)}/look?theme=${dark() ? "dark" : "light"}`, document.baseURI).href;
  }

  if (window.astolfoTab) Object.assign(window.astolfoTab, { comparePage: page, compareAddress: (id, cell) => `${page(id)}#${encodeURIComponent(cell.picture)}` });

  /** Put an infotext into txt2img's prompt and press the WebUI's own button that reads it. */
  function paste(infotext) {
    const field = root().querySelector("#txt2img_prompt textarea"), button = root().querySelector("#txt2img_tools #paste, #paste");
    if (!field || !button) return false;
    field.value = infotext;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    window.switch_to_txt2img?.();
    setTimeout(() => button.click(), 300); // gradio hands the text on first
    return true;
  }

  if (window.BroadcastChannel) { // heard by pages of this address alone
    const channel = new BroadcastChannel("astolfo");
    channel.onmessage = ({ data }) => { if (typeof data?.txt2img === "string" && paste(data.txt2img)) channel.postMessage({ took: true }); };
  }
})();
