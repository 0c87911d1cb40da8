# The explorer of bad images: which layer ruins an image, which images a layer ruins; what
# calibration did not see; whether flips can be chance.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 32 --seed 5
-culprits
run
culprits --worst 4
coverage --top 2
flips
images --sort beyond --top 2
sensitivity --exact --ways loo --metric top1 --images 3 --top 2
culprits --show
set output json
culprits @1
flips
