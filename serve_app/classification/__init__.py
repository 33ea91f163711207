"""How hard a request is and what it is about: features, the ONNX scorer, its time limit, the heuristic, calibration."""
