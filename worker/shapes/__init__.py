"""The small world: scenes of one or two coloured shapes, their renderer and an exact oracle. numpy and PIL only."""
