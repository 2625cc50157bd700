"""Getting images and believing them: references, discovery, transport, signatures, registries.

Everything that comes from outside is checked here before the store sees it. Only ``http`` knows
requests, only ``trust`` knows gnupg.
"""
