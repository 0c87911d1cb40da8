# Help, what was done, and leaving.
help pin
apropos undo
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
history
time echo done
quit
echo not reached
