"""The page on the bundled model: ``python app.py``, ``gradio app.py``, or a Space. See ``python -m app`` for more."""

from __future__ import annotations

import os
import sys

import gradio as gr

from analysis.errors import UserError
from app.engine.opening import open_engine
from app.server.serve import launch_demo, make_demo, make_services
from app.settings import Settings

if gr.NO_RELOAD:  # the model is loaded once, however often ``gradio app.py`` runs this again
    try:
        settings = Settings.from_env(os.environ)
        services = make_services(open_engine(settings.model, settings.quantize), settings)
    except UserError as error:
        print(f"app.py: {error}", file=sys.stderr)
        sys.exit(2)

demo = make_demo(services)

if __name__ == "__main__":
    launch_demo(demo, services)
