"""The page on the bundled model: ``python app.py``, ``gradio app.py``, or a Space. See ``python -m app`` for more."""

from __future__ import annotations

import sys
from typing import NoReturn

import gradio as gr

from analysis.errors import UserError
from app.engine.opening import open_engine
from app.server.serve import environment, launch_demo, make_demo, make_services
from app.settings import Settings


def stop(error: UserError) -> NoReturn:
    print(f"app.py: {error}", file=sys.stderr)
    sys.exit(2)


if gr.NO_RELOAD:  # the model is loaded once, however often ``gradio app.py`` runs this again
    try:
        settings = Settings.from_env(environment())
        services = make_services(open_engine(settings.model, settings.quantize, bool(settings.compile)), settings)
    except UserError as error:
        stop(error)

demo = make_demo(services)

if __name__ == "__main__":
    try:
        launch_demo(demo, services)
    except UserError as error:
        stop(error)
