"""The result as text, Markdown or JSON."""

import json

HEADERS = ("", "CPU/request", "± ", "+ log service", "to nginx", "to best", "requests/s", "p50", "p99", "notes")


def as_json(result):
    return json.dumps(result, indent=2)


def as_text(result):
    parts = [facts_lines(result["machine"], "")]
    for row in result["rows"]:
        parts.append(f"{row['title']}{bar(row)}\n{aligned([HEADERS, *cells(row)])}")
    if result["idle"]:
        parts.append(f"{idle_title(result)}\n{aligned([IDLE_HEADERS, *idle_cells(result)])}")
    return "\n\n".join(parts)


def as_markdown(result):
    parts = [facts_lines(result["machine"], "- ")]
    for row in result["rows"]:
        parts.append(f"**{row['title']}**{bar(row)}\n\n{piped([HEADERS, *cells(row)])}")
    if result["idle"]:
        parts.append(f"**{idle_title(result)}**\n\n{piped([IDLE_HEADERS, *idle_cells(result)])}")
    return "\n\n".join(parts)


def facts_lines(machine, mark):
    return "\n".join(f"{mark}{name}: {'absent' if value is None else value}" for name, value in machine.items())


def bar(row):
    if row["bar"] is None:
        return ""
    wanted = row["bar"]
    return f" (bar {wanted['allowed']:.2f} to {wanted['to']}: {wanted['ours']:.2f}, {'met' if met(row) else 'MISSED'})"


def met(row):
    """Whether tollgate keeps the bar of the row; None where there is nothing to compare."""
    return None if row["bar"] is None else row["bar"]["ours"] <= row["bar"]["allowed"]


def cells(row):
    for name, one in row["results"].items():
        yield (
            name,
            f"{one['cpu_us']:.2f} µs",
            f"{one['spread']:.0%}",
            differs(one["with_log_service_us"], one["cpu_us"]),
            known(one["to_nginx"], "{:.2f}"),
            known(one["to_best_other"], "{:.2f}"),
            f"{one['requests_per_s']:.0f}",
            latency(one["p50_us"]),
            latency(one["p99_us"]),
            notes(one),
        )


def differs(everything, alone):
    return f"{everything:.2f} µs" if everything > alone else "–"


def known(value, form):
    return "–" if value is None else form.format(value)


def latency(micros):
    if micros is None:
        return "–"
    return f"{micros / 1e3:.2f} ms" if micros >= 1e3 else f"{micros:.0f} µs"


def notes(one):
    found = [f"{one['system_us'] / one['cpu_us']:.0%} kernel"] if one["cpu_us"] else []
    if one["size_b"]:
        found.append(f"{one['size_b']} bytes")
    if one["errors"]:
        found.append(f"{one['errors']} ERRORS")
    return ", ".join(found)


IDLE_HEADERS = ("", "plain", "TLS", "right after, plain", "right after, TLS", "notes")


def idle_title(result):
    return f"memory per idle connection ({result['settings']['idle_connections']} connections)"


def idle_cells(result):
    for name, one in result["idle"].items():
        plain, tls = one["plain"], one["tls"]
        silent = sum(part["sample"] - part["alive"] for part in (plain, tls))
        sizes = (f"{part[key]:.1f} KiB" for key in ("kib", "kib_at_once") for part in (plain, tls))
        yield (name, *sizes, f"{silent} of the sample did not answer again" if silent else "all answered again")


def aligned(table):
    table = [list(line) for line in table]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if at == 0 or at == len(widths) - 1 else cell.rjust(width)
                  for at, (cell, width) in enumerate(zip(line, widths))).rstrip()
        for line in table
    )


def piped(table):
    head, *lines = table
    return "\n".join(
        f"| {' | '.join(line)} |" for line in (head, ["---"] + ["--:"] * (len(head) - 2) + ["---"], *lines)
    )
