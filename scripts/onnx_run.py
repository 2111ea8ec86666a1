"""Runs an ONNX file of `elbo export` with ONNX Runtime (pip install onnxruntime).

    python3 scripts/onnx_run.py FILE.onnx FOLDER

Takes each input NAME from FOLDER/NAME.npy, float32, a row an example, and writes each output as FOLDER/out_NAME.npy,
likewise.
"""

import sys
from pathlib import Path

try:
    import numpy as np
    import onnxruntime
except ImportError as missing:
    sys.exit(f"{missing}: pip install onnxruntime")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    file, folder = sys.argv[1], Path(sys.argv[2])
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    inputs = {}
    for port in session.get_inputs():
        rows = np.load(folder / f"{port.name}.npy").astype(np.float32)
        inputs[port.name] = rows.reshape(-1, *port.shape[1:])
    names = [port.name for port in session.get_outputs()]
    for name, values in zip(names, session.run(names, inputs)):
        np.save(folder / f"out_{name}.npy", values.reshape(len(values), -1))
        print(name, values.shape)


if __name__ == "__main__":
    main()
