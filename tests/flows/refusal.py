"""What a refused command is held against."""


def refused(result, code, *told):
    assert result.exit_code == code, result.output
    for words in told:
        assert words in result.stderr
    assert "Traceback" not in result.stderr
