def measure_line(seconds):
    raise SystemExit("later")
