"""From files to batches: read, split, check, and turn images into views.

``views`` and ``batches`` need torch; everything else here does not.
"""
