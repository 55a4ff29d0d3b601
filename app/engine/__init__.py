"""The first floor: live models and what they route. Does not know gradio or the page."""
