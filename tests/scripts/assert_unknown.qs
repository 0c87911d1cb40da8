# exit: 4
# A gate does not let through what it cannot judge: without labels there is no accuracy.
# stderr
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 2
run
plot profile ${OUT}/no_label.png
dataset clear
dataset add ${OUT}/no_label.png
run
images --where 'fp32 == 4 || fp32 != 4'
assert 'labelled == 0 || top1_drop < 1'
-assert 'top1_drop < 1'
assert '!(top1_drop > 1)' --message gate
