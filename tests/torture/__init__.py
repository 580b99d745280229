"""Breaking the pack on purpose: random graphs, killed servers, full disks, cancelled runs. `make torture` runs it."""
