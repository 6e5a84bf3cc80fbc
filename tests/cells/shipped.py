"""The names of the shipped cells: each has its formula in test_cell_formulas.py and a row in README."""

SHIPPED = (
    *("rnn", "irnn", "lstm", "gru", "gru_reset_before", "peephole", "coupled", "capped", "leaky", "leaky_fixed", "esn"),
    *(f"lstm_no_{part}" for part in ("forget_gate", "input_gate", "output_gate")),
    *("lstm_no_input_activation", "lstm_no_output_activation", "lstm_no_cell_gradient", "lstm_no_hidden_gradient"),
)
