# A model read and planned without loading it.
check samples/models/int8_qop.onnx
