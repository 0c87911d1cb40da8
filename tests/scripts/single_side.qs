# stderr
# One model alone has its accuracy; what takes two has no figure, and does not look like zero.
load int8 samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run
run --json
assert 'int8_accuracy > 80 && labelled == 96'
-assert 'top1_drop < 1'
-assert 'agreement > 90'
-flips
-coverage
layer /stem/Conv
layer /block4/pw/Conv --json
layer /head/Gemm --image star_4.png
hist /stem/Conv --bins 6
-channels /stem/Conv
cost --top 2
cost --top 1 --json
unload
load fp32 samples/models/fp32.onnx
run
run --json
-assert '!(int8_accuracy > 80)'
layer /stem/Clip
