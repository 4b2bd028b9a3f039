# SPDX-License-Identifier: Apache-2.0
"""What each algorithm promises, as checks on counts: each function returns a list of complaints, empty when all is well.

`shares` maps each backend to its weight; `counts` is what wrk.Logs.settle returns. wrk's first connection, which only looks
whether somebody answers, carries no request and is in no log: so a strict rotation may look off by one.
"""
# Chance alone exceeds these values of chi-square once in a million runs; index: degrees of freedom.
CHI_SQUARE_LIMIT = [0.0, 23.93, 27.63, 30.66, 33.38, 35.89, 38.26, 40.52, 42.70, 44.81, 46.86, 48.87, 50.83, 52.76]


def expected(shares, total):
    weights = sum(shares.values())
    return {backend: total * weight / weights for backend, weight in shares.items()}


def connections_of(counts):
    return {backend: count["connections"] for backend, count in counts.items()}


def rotation(shares, counts):
    """Strict or smoothly interleaved rotation: never more than one turn off."""
    got = connections_of(counts)
    want = expected(shares, sum(got.values()))
    slack = 1 + (max(shares.values()) > 1)
    return [f"{backend} got {got[backend]} connections where the rotation gives {want[backend]:.1f}"
            for backend in shares if abs(got[backend] - want[backend]) > slack]


def by_chance(shares, counts):
    """Independent draws with these probabilities."""
    got = connections_of(counts)
    want = expected(shares, sum(got.values()))
    value = sum((got[backend] - want[backend]) ** 2 / want[backend] for backend in shares)
    limit = CHI_SQUARE_LIMIT[len(shares) - 1]
    return [f"chi-square of the connections is {value:.1f}, above {limit}"] if value > limit else []


def by_source(home, counts):
    """`home` maps each client address to its backend; the addresses took turns, so each opened as many connections as the others,
    give or take one (and one for wrk's first)."""
    got = connections_of(counts)
    total = sum(got.values())
    each, complaints = total / len(home), []
    for backend in got:
        addresses = sum(1 for its in home.values() if its == backend)
        low, high = addresses * int(each) - 1, addresses * (int(each) + 1)
        if not low <= got[backend] <= high:
            complaints.append(f"{backend} is home to {addresses} client addresses and so to {low} to {high} connections; it got {got[backend]}")
    return complaints


def always(counts, wrk, connections):
    """What holds for every algorithm."""
    complaints = [f"{backend} got nothing" for backend, count in counts.items() if not count["requests"]]
    complaints += [f"{backend} answered {count['bad']} requests with another status than 200"
                   for backend, count in counts.items() if count["bad"]]
    complaints += [f"wrk counted {number} {kind} errors" for kind, number in wrk["errors"].items() if number]
    logged = sum(count["requests"] for count in counts.values())
    # At the end every connection may have one request under way, which its backend logs and wrk does not count.
    if not wrk["requests"] <= logged <= wrk["requests"] + connections:
        complaints.append(f"wrk counted {wrk['requests']} answers, the backends logged {logged}")
    opened = sum(count["connections"] for count in counts.values())
    if opened != connections:
        complaints.append(f"wrk held {connections} connections, the backends saw {opened}")
    return complaints
