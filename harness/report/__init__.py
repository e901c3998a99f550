"""Reports, made from a run's folder alone: pages, an index, a server, texts, exports.

run_report    gathers what a folder holds into one document
page          makes one HTML file of a template, scripts and a document
text          the summary and the story for a terminal
index, server the list of runs, as files or served on 127.0.0.1
perfetto, latency_log   for external viewers
"""
