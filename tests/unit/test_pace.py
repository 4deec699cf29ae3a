"""Never more negotiations at once than the machine was measured to bear, and nobody waits for ever."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from pathlib import Path

from testbed.measure import pace
from testbed.measure.pace import PER_SERVER, Admission, Rank, Slots


def test_never_more_in_use_than_the_limit() -> None:
    async def main() -> tuple[int, int]:
        admission, highest, done = Admission(limit=3.0), 0, 0

        async def one() -> None:
            nonlocal highest, done
            async with admission.place():
                highest = max(highest, admission.used)
                await asyncio.sleep(0.001)
            done += 1

        await asyncio.gather(*(one() for _ in range(50)))
        assert admission.used == 0
        return highest, done

    assert asyncio.run(asyncio.wait_for(main(), 10)) == (3, 50)


def test_a_limit_that_is_no_whole_number_is_never_exceeded() -> None:
    async def main() -> int:
        admission, highest = Admission(limit=2.5), 0

        async def one() -> None:
            nonlocal highest
            async with admission.place():
                highest = max(highest, admission.used)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(one() for _ in range(20)))
        return highest

    assert asyncio.run(asyncio.wait_for(main(), 10)) <= 2.5


def test_strain_cuts_the_limit_and_calm_raises_it_again() -> None:
    admission = Admission(limit=10.0)
    admission.measured(admission.strained + 0.01)
    assert admission.limit <= 7.5
    cut = admission.limit
    admission.measured((admission.calm + admission.strained) / 2)
    assert admission.limit == cut, "between the two nothing changes"
    admission.measured(admission.calm / 2)
    assert cut < admission.limit <= cut + 1


def test_servers_that_wait_for_processors_cut_the_limit_however_quick_the_wiretap_is() -> None:
    """Under eight busy loops the wiretap answered within milliseconds, while servers waited so long that attempts were void."""
    admission = Admission(limit=10.0)
    admission.server_waited(admission.behind + 0.01)
    assert admission.limit <= 7.5
    cut = admission.limit
    admission.server_waited((admission.at_ease + admission.behind) / 2)
    admission.measured(admission.calm / 2)
    assert admission.limit == cut, "in between it grows no more"
    admission.server_waited(0.0)
    admission.measured(admission.calm / 2)
    assert admission.limit > cut


def test_the_limit_stays_within_its_bounds() -> None:
    admission = Admission()
    for _ in range(200):
        admission.measured(9.9)
    assert admission.limit == admission.lowest >= 1
    for _ in range(500):
        admission.measured(0.001)
    assert admission.limit == admission.highest
    assert len(admission.delays) == 700


def test_a_higher_limit_wakes_those_that_wait() -> None:
    async def main() -> None:
        admission = Admission(limit=2.0)
        entered: list[int] = []
        leave = asyncio.Event()

        async def one(number: int) -> None:
            async with admission.place():
                entered.append(number)
                await leave.wait()

        tasks = [asyncio.create_task(one(n)) for n in range(5)]
        await asyncio.sleep(0.01)
        assert entered == [0, 1]
        while admission.limit < 3:
            admission.measured(0.0)
        await asyncio.sleep(0.01)
        assert entered == [0, 1, 2], "in the order of coming"
        leave.set()
        await asyncio.gather(*tasks)
        assert entered == [0, 1, 2, 3, 4]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_after_a_cut_nobody_enters_until_enough_have_left() -> None:
    async def main() -> None:
        admission = Admission(limit=6.0)
        inside = [asyncio.Event() for _ in range(6)]
        entered = 0

        async def one(leave: asyncio.Event) -> None:
            nonlocal entered
            async with admission.place():
                entered += 1
                await leave.wait()

        first = [asyncio.create_task(one(e)) for e in inside]
        await asyncio.sleep(0.01)
        for _ in range(20):
            admission.measured(9.9)
        late_leave = asyncio.Event()
        late = asyncio.create_task(one(late_leave))
        for number, event in enumerate(inside):
            await asyncio.sleep(0.001)
            assert entered == (6 if 6 - number >= admission.limit else 7)
            event.set()
        late_leave.set()
        await asyncio.gather(late, *first)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_one_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    async def main() -> None:
        admission = Admission(limit=1.0)
        leave = asyncio.Event()
        got = asyncio.Event()

        async def holder() -> None:
            async with admission.place():
                await leave.wait()

        async def waiter() -> None:
            async with admission.place():
                got.set()

        first = asyncio.create_task(holder())
        await asyncio.sleep(0)
        second, third = asyncio.create_task(waiter()), asyncio.create_task(waiter())
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0)
        leave.set()
        await asyncio.wait_for(got.wait(), 2)
        await asyncio.gather(first, third)
        assert admission.used == 0

    asyncio.run(main())


def test_one_that_is_cancelled_just_as_it_is_woken_passes_the_place_on() -> None:
    async def main() -> None:
        admission = Admission(limit=1.0)
        got = asyncio.Event()

        async def waiter() -> None:
            async with admission.place():
                got.set()

        first = admission.place()
        await first.__aenter__()
        second, third = asyncio.create_task(waiter()), asyncio.create_task(waiter())
        await asyncio.sleep(0.01)
        await first.__aexit__(None, None, None)  # hands the place to the second, which has not run yet
        second.cancel()
        await asyncio.wait_for(got.wait(), 2)
        await third
        assert second.cancelled()

    asyncio.run(main())


def test_no_server_has_more_than_its_share_and_others_go_on() -> None:
    async def main() -> None:
        admission, leave, inside = Admission(limit=100.0), asyncio.Event(), Counter[str]()

        async def one(*servers: str) -> None:
            async with admission.place(*servers):
                inside.update(servers)
                await leave.wait()

        tasks = [asyncio.create_task(one("hub", f"peer-{n}")) for n in range(PER_SERVER + 4)]
        tasks.append(asyncio.create_task(one("x", "y")))
        await asyncio.sleep(0.01)
        assert inside["hub"] == PER_SERVER
        assert inside["x"] == 1, "who waits behind a busy server's pairs is not held up by them"
        leave.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 2)
        assert inside["hub"] == PER_SERVER + 4

    asyncio.run(main())


def test_who_has_to_wait_for_a_timer_goes_before_who_delivers_and_a_second_attempt_before_both() -> None:
    async def main() -> list[str]:
        admission, order = Admission(limit=1.0), list[str]()

        async def one(name: str, rank: Rank) -> None:
            async with admission.place(name, rank=rank):
                order.append(name)
                await asyncio.sleep(0)

        ranks = [Rank.DELIVERS, Rank.DELIVERS, Rank.WAITS, Rank.AGAIN, Rank.WAITS]
        await asyncio.gather(*(one(f"{rank.name}{n}", rank) for n, rank in enumerate(ranks)))
        return order

    assert asyncio.run(main()) == ["DELIVERS0", "AGAIN3", "WAITS2", "WAITS4", "DELIVERS1"]


def test_a_void_attempt_is_made_again_when_next_to_nobody_negotiates() -> None:
    """In the midst of the load that made it void it would be void again."""

    async def work() -> list[str]:
        admission, order, leave = Admission(limit=20.0), list[str](), asyncio.Event()

        async def negotiate(name: str, rank: Rank, until: asyncio.Event | None = None) -> None:
            async with admission.place(name, rank=rank):
                order.append(name)
                assert rank is not Rank.VOID or admission.used <= admission.lowest
                if until:
                    await until.wait()

        others = [asyncio.create_task(negotiate(f"other{n}", Rank.DELIVERS, leave)) for n in range(3)]
        void = [asyncio.create_task(negotiate(f"void{n}", Rank.VOID)) for n in range(4)]
        await asyncio.sleep(0)
        last = asyncio.create_task(negotiate("last", Rank.WAITS, leave))
        for _ in range(5):
            await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(*others, *void, last)
        return order

    order = asyncio.run(work())
    assert order[:4] == ["other0", "other1", "other2", "last"]
    assert sorted(order[4:]) == [f"void{n}" for n in range(4)]


def test_a_limit_that_was_cut_recovers_within_seconds_of_calm() -> None:
    admission = Admission()
    for _ in range(50):
        admission.measured(9.9)
    for _ in range(40):  # ten seconds, at four measurements a second
        admission.measured(0.001)
    assert admission.limit == admission.highest


def test_the_cheapest_has_the_next_slot_and_of_equals_the_first() -> None:
    async def main() -> list[str]:
        slots, order = Slots(1), list[str]()

        async def one(name: str, cost: int) -> None:
            async with slots.place(lambda: cost):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(one("a", 3), one("b", 2), one("c", 0), one("d", 2), one("e", -1))
        assert slots.free == 1
        return order

    assert asyncio.run(main()) == ["a", "e", "c", "b", "d"]


def test_a_slot_that_nobody_took_is_passed_on() -> None:
    async def main() -> None:
        slots, got = Slots(1), asyncio.Event()

        async def waiter() -> None:
            async with slots.place(lambda: 0):
                got.set()

        first = slots.place(lambda: 0)
        await first.__aenter__()
        second, third = asyncio.create_task(waiter()), asyncio.create_task(waiter())
        await asyncio.sleep(0.01)
        await first.__aexit__(None, None, None)
        second.cancel()
        await asyncio.wait_for(got.wait(), 2)
        await third
        assert slots.free == 1

    asyncio.run(main())


def test_of_those_with_one_key_one_has_a_slot_at_a_time_and_holds_up_nobody_else() -> None:
    async def main() -> tuple[list[str], int, int]:
        slots, order, seen = Slots(3), list[str](), Counter[str]()

        async def one(name: str, key: str | None) -> None:
            async with slots.place(lambda: 0, key):
                order.append(name)
                seen[str(key)] += 1
                assert key is None or seen[key] == 1
                await asyncio.sleep(0.01)
                seen[str(key)] -= 1

        tasks = [asyncio.create_task(one(*pair)) for pair in (("a", "x"), ("b", "x"), ("c", None), ("d", "y"), ("e", "x"))]
        await asyncio.sleep(0)
        waiting = slots.waiting("x")
        await asyncio.gather(*tasks)
        return order, waiting, slots.free

    order, waiting, free = asyncio.run(main())
    assert order == ["a", "c", "d", "b", "e"]
    assert (waiting, free) == (2, 3)


def test_no_bound_is_named_twice() -> None:
    """The second would silently take the place of the first."""
    tree = ast.parse(Path(pace.__file__).read_text())
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    names = Counter(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
    assert not [name for name, count in names.items() if count > 1]
