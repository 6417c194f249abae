import pytest

from cloud_api.faults.trend import TrendError, load_map, load_trend

MAP = """
time: {column: t, zone: Asia/Shanghai}
roles:
  sat: {column: SAT, unit: degF}
  clg_vlv_cmd: {column: CCV, unit: 0-1}
  sf_status: FAN
"""


@pytest.fixture
def read(tmp_path):
    def go(csv, text=MAP):
        (tmp_path / "map.yaml").write_text(text)
        (tmp_path / "trend.csv").write_text(csv)
        return load_trend(tmp_path / "trend.csv", load_map(tmp_path / "map.yaml"))

    return go


def rows(values):
    return "t,SAT,CCV ,FAN\n" + "".join(f"2026-03-02 08:{m:02},{sat},0.5,on\n" for m, sat in values)


def test_units_are_those_of_the_map_and_column_names_may_carry_spaces(read):
    data = read(rows([(0, 50), (1, 68)]))
    assert data.columns["sat"].tolist() == pytest.approx([10, 20])
    assert data.columns["clg_vlv_cmd"].tolist() == [50, 50]
    assert data.columns["sf_status"].tolist() == [1, 1]
    assert data.tick_s == 60


def test_the_order_of_the_rows_does_not_matter(read):
    values = [(m, 50 + m) for m in range(20)]
    ordered, shuffled = read(rows(values)), read(rows(values[::-1]))
    assert ordered.columns["sat"].tolist() == shuffled.columns["sat"].tolist()
    assert ordered.seconds.tolist() == shuffled.seconds.tolist()


def test_a_cell_that_is_no_number_is_unknown_and_counted(read):
    data = read(rows([(m, "#VALUE!" if m == 3 else 50) for m in range(10)]))
    assert data.notes == ("SAT: 1 cells that are no number are taken as unknown",)


def test_a_gap_longer_than_the_age_limit_is_unknown(read):
    data = read(rows([(0, 50), (1, 50), (2, 50), (40, 50)]))
    assert data.columns["sat"][10] == pytest.approx(10)
    assert data.columns["sat"][30] != data.columns["sat"][30]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MAP.replace("sat:", "satt:"), "did you mean sat"),
        (MAP.replace("degF", "Pa"), "a temperature is needed"),
        (MAP.replace("degF", "degrees"), "unknown unit"),
        (MAP.replace("SAT", "SAD"), "did you mean 'SAT'"),
        (MAP.replace("column: t,", "column: time,"), "no time column 'time'"),
        (MAP.replace("Asia/Shanghai", "Asia/Atlantis"), "not a time zone"),
        ("roles: {}", "roles"),
        ("roles: [", "not YAML"),
        (MAP + "colour: red\n", "colour"),
    ],
)
def test_a_wrong_map_is_refused_with_a_remedy(read, text, message):
    with pytest.raises(TrendError, match=message):
        read(rows([(0, 50)]), text)


def test_a_row_with_a_broken_time_names_its_line(read):
    with pytest.raises(TrendError, match="line 3"):
        read("t,SAT,CCV,FAN\n2026-03-02 08:00,50,0.5,1\nnoon,50,0.5,1\n")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("03/02/2026 08:00:00 AM", "03/02/2026 08:01:00 AM"),
        ("02.03.2026 08:00:00", "02.03.2026 08:01:00"),
        ("02-Mar-26 08:00", "02-Mar-26 08:01"),
        ("2026年03月02日 08:00", "2026年03月02日 08:01"),
        ("1772409600", "1772409660"),
        ("1772409600000", "1772409660000"),
        ("2026-03-02T00:00:00Z", "2026-03-02T00:01:00Z"),
    ],
)
def test_times_are_read_in_the_forms_that_other_systems_write(read, first, second):
    data = read(f"t,SAT,CCV,FAN\n{first},50,0.5,on\n{second},50,0.5,on\n")
    assert data.seconds.tolist() == [1772409600, 1772409660]


def test_a_day_above_twelve_tells_day_and_month_apart_wherever_it_stands(read):
    data = read("t,SAT,CCV,FAN\n02/03/2026 08:00,50,0.5,on\n13/03/2026 08:00,50,0.5,on\n")
    assert data.seconds[-1] - data.seconds[0] <= 11 * 86_400
    assert data.seconds[-1] - data.seconds[0] >= 11 * 86_400 - 3600


def test_a_comma_is_a_decimal_mark_where_semicolons_part_the_columns(read):
    data = read("t;SAT;CCV;FAN\n2026-03-02 08:00;50,5;0,5;on\n2026-03-02 08:01;50,5;0,5;on\n")
    assert data.columns["sat"][0] == pytest.approx((50.5 - 32) / 1.8)
    assert data.columns["clg_vlv_cmd"][0] == 50
