"""What a WebUI serves for us: the workspace behind routes and tab, for as long as one load of the scripts lasts."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError, Failed

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.hosts.webui.host import WebuiHost

TAB, TAB_ID = "Astolfo", "astolfo_tab"
LOG = logging.getLogger("astolfo")


class Served:
    """Routes, tab and workspace. ``script`` gives a new object of the script that draws with our settings.

    The workspace is made when it is first needed. After "Reload UI" the WebUI loads its scripts anew and has another
    app; the ``Served`` of before is then closed, so that one job queue has the jobs folder.
    """

    def __init__(self, script: Callable[[], Any]) -> None:
        self._script = script
        self._guard = threading.Lock()
        self._host: WebuiHost | None = None
        self._workspace: Workspace | None = None
        self._closed = False

    @property
    def made(self) -> Workspace | None:
        """The workspace if it was needed already."""
        return self._workspace

    @property
    def workspace(self) -> Workspace:
        """Raises Failed after ``close``."""
        with self._guard:
            if self._closed:
                raise Failed("the WebUI's page was reloaded; reload it in the browser too")
            if self._workspace is None:
                from lib_astolfo.commands.workspace import Workspace

                self._workspace = Workspace(self._made_host())
            return self._workspace

    def _made_host(self) -> WebuiHost:
        if self._host is None:
            self._host = host_for(self._script)
        return self._host

    def on_app_started(self, demo: Any, app: Any) -> None:
        """The WebUI's app is there (``demo`` is None with --nowebui): put the routes on it, and begin with the jobs."""
        from lib_astolfo.api.routes import router
        from lib_astolfo.ui.server import add_static

        workspace = self.workspace
        self._made_host().app = app
        app.include_router(router(workspace))
        add_static(app)
        try:
            workspace.start()
        except AstolfoError as error:  # another WebUI on the same folders has the jobs
            LOG.warning("Astolfo's jobs do not run here: %s", error)

    def on_ui_tabs(self) -> list[tuple[Any, str, str]]:
        """The tab, as the WebUI asks for it while it builds its page."""
        from lib_astolfo.ui.build import inside

        return [(inside(self.workspace, self._made_host().page_key), TAB, TAB_ID)]

    def close(self) -> None:
        """The scripts are about to be loaded anew: end the running job and let the jobs folder go."""
        with self._guard:
            workspace, self._workspace, self._host = self._workspace, None, None
            self._closed = True
        if workspace is not None:
            workspace.shutdown()


def is_reforge() -> bool:
    """reForge has a package that A1111 has not."""
    return importlib.util.find_spec("modules_forge") is not None


def host_for(script: Callable[[], Any]) -> WebuiHost:
    """The host of the WebUI that is running."""
    from lib_astolfo.hosts.webui.host import WebuiHost

    if is_reforge():
        from lib_astolfo.hosts.reforge.network import ReForge

        return WebuiHost(ReForge(), script)
    from lib_astolfo.hosts.a1111.network import A1111

    return WebuiHost(A1111(), script)
