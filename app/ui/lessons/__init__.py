"""One file a lesson of the tab Learn. Each has ``NAME``, ``build(services, words)`` and ``wire(lesson, services,
shared)``; its words stand in the locales under ``learn.<NAME>``."""
