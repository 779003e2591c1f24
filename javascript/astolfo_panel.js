// The panel in txt2img and img2img: its line about the loaded checkpoint follows the WebUI's own checkpoint list.
(() => {
  "use strict";
  if (typeof onOptionsChanged !== "function") return; // no WebUI

  let known = null;

  /** Ask anew in the panels that are on; one that is off asks when it is opened. */
  function refresh() {
    for (const tab of ["txt2img", "img2img"]) {
      const on = gradioApp().querySelector(`#astolfo_${tab}_enabled-checkbox input`);
      const button = gradioApp().querySelector(`#astolfo_${tab}_refresh`);
      if (on && on.checked && button) button.click();
    }
  }

  onOptionsChanged(() => {
    if (opts.sd_checkpoint_hash === known) return;
    known = opts.sd_checkpoint_hash;
    refresh();
  });
})();
