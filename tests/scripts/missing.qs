# exit: 7
# stderr
# A file that is not there.
load fp32 samples/models/no_such_model.onnx
