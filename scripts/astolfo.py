"""The WebUI's entry: glue between its callbacks and ``lib_astolfo``."""

import sys
from typing import Any

from modules import script_callbacks, scripts
from modules.ui_components import InputAccordion

# "Reload UI" runs this file anew, also after an update; the package must not stay the one of before.
for name in [name for name in sys.modules if name.partition(".")[0] == "lib_astolfo"]:
    del sys.modules[name]

from lib_astolfo.extension.extension import Extension  # noqa: E402
from lib_astolfo.hosts.webui import callbacks, xyz  # noqa: E402
from lib_astolfo.ui import panel  # noqa: E402

EXTENSION = Extension(lambda: Astolfo())


class Astolfo(scripts.Script):
    """The panel in txt2img and img2img, and the sampler hook behind it."""

    sorting_priority = 20  # reForge sorts by it; behind its own prediction scripts (15, 15.1), to see what they did

    def title(self) -> str:
        return "Astolfo"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        answers = panel.Answers(EXTENSION.said, EXTENSION.remember, EXTENSION.forget, EXTENSION.check)
        made = panel.build(InputAccordion, "img2img" if is_img2img else "txt2img", answers)
        self.infotext_fields = made.infotext_fields
        self.paste_field_names = made.paste_field_names
        return made.inputs

    def setup(self, p: Any, *args: Any) -> None:
        EXTENSION.live.begin(p)

    def process(self, p: Any, *args: Any) -> None:
        EXTENSION.hook.process(p, args)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        EXTENSION.hook.before_sampling(p)


callbacks.register(
    script_callbacks,
    __file__,
    {
        "cfg_denoiser": EXTENSION.hook.cfg_denoiser,
        "app_started": EXTENSION.served.on_app_started,
        "ui_tabs": EXTENSION.served.on_ui_tabs,
        "model_loaded": EXTENSION.on_model_loaded,
        "script_unloaded": EXTENSION.close,
    },
)
plot = xyz.find_plot(scripts.scripts_data)
if plot is not None:
    xyz.register(plot, EXTENSION.merge_axes)
