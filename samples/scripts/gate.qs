# gate.qs: a CI job's check of an INT8 model, with no screen and one line of JSON a listing:
#     build/qscope --batch --json --define INT8=samples/models/int8_qop.onnx -x samples/scripts/gate.qs
# Exit code 0: good enough. 4: an assertion is false. 6, 7: a file is bad or missing.
load pair samples/models/fp32.onnx ${INT8}
preprocess samples/preprocess.json
dataset add samples/images
run
layers --sort sqnr --top 5
images --flips lost
assert top1_drop <= 20 --message "accuracy gate"
assert min(sqnr) > 3 --message "layer gate"
