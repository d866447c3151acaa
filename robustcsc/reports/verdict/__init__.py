"""The answer in ten seconds: typed facts first, then two or three sentences, one small table and one chart of them."""
