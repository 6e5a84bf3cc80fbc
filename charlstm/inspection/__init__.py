"""See inside a trained model: what its units do, and what its predictions depend on."""
