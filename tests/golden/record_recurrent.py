#!/usr/bin/env python3
"""Records recurrent.safetensors: nn.LSTM and nn.GRU over packed sequences; record.py's docstring holds here as well.

    python3 tests/golden/record_recurrent.py
"""

import torch
from record import save
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

STEPS, BATCH, INPUT, HIDDEN = 5, 4, 3, 6
LENGTHS = [3, 5, 1, 4]

# Name: module, layers, both directions.
CASES = {
    "lstm": (nn.LSTM, 1, False),
    "lstm_two_layers": (nn.LSTM, 2, False),
    "lstm_bidirectional": (nn.LSTM, 1, True),
    "lstm_two_bidirectional": (nn.LSTM, 2, True),
    "gru": (nn.GRU, 1, False),
    "gru_two_layers": (nn.GRU, 2, False),
    "gru_bidirectional": (nn.GRU, 1, True),
    "gru_two_bidirectional": (nn.GRU, 2, True),
}


def record(kind, layers, bidirectional):
    """Everything in float64 from parameters, inputs and weightings that are float32, then rounded.

    The loss is <dy, outputs> + <dlast, final states>. Rows behind a sequence's end are zeros in x, y, dy and dx.
    """
    module = kind(INPUT, HIDDEN, layers, bidirectional=bidirectional)
    ways = 2 if bidirectional else 1
    lengths = torch.tensor(LENGTHS)
    mask = (torch.arange(STEPS)[:, None] < lengths).float()[:, :, None]
    is_lstm = kind is nn.LSTM
    states = ["h", "c"] if is_lstm else ["h"]
    # Twice the initial weights, so that the gates are far from their middle.
    for parameter in module.parameters():
        parameter.data *= 2
    inputs = {"x": torch.randn(STEPS, BATCH, INPUT) * mask, "dy": torch.randn(STEPS, BATCH, ways * HIDDEN) * mask}
    for state in states:
        inputs |= {f"{role}_{state}": torch.randn(layers * ways, BATCH, HIDDEN) for role in ("start", "dlast")}
    tensors = dict(inputs) | {f"param.{name}": p.detach().clone() for name, p in module.named_parameters()}

    module = module.double()
    exact = {name: value.double() for name, value in inputs.items()}
    for name in ["x"] + [f"start_{state}" for state in states]:
        exact[name].requires_grad_()
    start = tuple(exact[f"start_{state}"] for state in states)
    packed = pack_padded_sequence(exact["x"], lengths, enforce_sorted=False)
    outputs, last = module(packed, start if is_lstm else start[0])
    y, _ = pad_packed_sequence(outputs, total_length=STEPS)
    last = last if is_lstm else (last,)
    loss = (y * exact["dy"]).sum()
    for state, value in zip(states, last, strict=True):
        loss = loss + (value * exact[f"dlast_{state}"]).sum()
    loss.backward()

    results = {"y": y, "dx": exact["x"].grad}
    for state, value in zip(states, last, strict=True):
        results |= {f"last_{state}": value, f"dstart_{state}": exact[f"start_{state}"].grad}
    results |= {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    return tensors | {name: value.detach().float() for name, value in results.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"PyTorch {torch.__version__}")
    torch.manual_seed(11)
    tensors = {}
    for case, settings in CASES.items():
        tensors |= {f"{case}.{name}": value for name, value in record(*settings).items()}
    metadata = {case: f"{kind.__name__} {layers} {2 if both else 1}" for case, (kind, layers, both) in CASES.items()}
    metadata |= {"lengths": ",".join(map(str, LENGTHS)), "steps": str(STEPS), "inputs": str(INPUT)}
    metadata |= {"hidden": str(HIDDEN)}
    print(f"recurrent: {save('recurrent', tensors, metadata)} bytes")


if __name__ == "__main__":
    main()
