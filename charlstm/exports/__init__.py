"""Export a trained model: a page that samples text in a browser, ONNX, plain torch.nn, a folder for model hubs."""
