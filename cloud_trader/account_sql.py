"""The account's SQL: one statement reads what a moment needs, one writes what it changed."""

from __future__ import annotations

from data.journal import APPEND_CTE

LOCKS = "SELECT pg_advisory_xact_lock_shared(%s, %s), pg_advisory_xact_lock(%s, hashtext(%s))"
LEASE = "SELECT holder = %s AND expires_at > clock_timestamp() FROM trader_lease WHERE account = %s"
ACTIVE = (
    "SELECT coalesce(bool_and(state = 'ACTIVE'), true) FROM trading_state WHERE scope IN ('*', %s)"
)
HALTED = "SELECT EXISTS (SELECT 1 FROM trading_state WHERE scope IN ('*', %s) AND state = 'HALTED')"
SEEN = "SELECT chain, max(seq) FROM journal_identity WHERE chain = ANY(%s) GROUP BY chain"

# One row: lease, books, halted, cash reserved by the orders that close now, chain head, what is
# seen of the other chains, and the positions as parallel arrays.
READ_MOMENT = """
SELECT
  (SELECT holder = %(holder)s AND expires_at > clock_timestamp()
     FROM trader_lease WHERE account = %(account)s),
  ARRAY[a.cash_micro, a.reserved_micro, a.equity_micro, a.peak_micro, a.day, a.day_open_micro],
  (SELECT coalesce(bool_or(state = 'HALTED'), false)
     FROM trading_state WHERE scope IN ('*', %(account)s)),
  (SELECT coalesce(sum(reserved_micro), 0)::bigint FROM orders
    WHERE client_order_id = ANY(%(closed)s::text[]) AND status = 'open'),
  h.seq, h.hash,
  (SELECT coalesce(max(seq), 0) FROM journal_identity WHERE chain = %(cell_chain)s),
  (SELECT coalesce(max(seq), 0) FROM journal_identity WHERE chain = %(operations)s),
  p.symbols, p.lots, p.costs, p.marks, p.locked
FROM account a
LEFT JOIN LATERAL (
  SELECT seq, hash FROM journal_identity WHERE chain = %(chain)s ORDER BY seq DESC LIMIT 1
) h ON true
LEFT JOIN LATERAL (
  SELECT array_agg(symbol) AS symbols, array_agg(lots) AS lots, array_agg(cost_micro) AS costs,
         array_agg(mark_ticks) AS marks, array_agg(lock_code IS NOT NULL) AS locked
  FROM position WHERE account = %(account)s
) p ON true
WHERE a.account = %(account)s
"""

WRITE_MOMENT = f"""
WITH {APPEND_CTE}, position_rows AS (
    INSERT INTO position (account, symbol, lots, cost_micro, mark_ticks, lock_code)
    SELECT %(account)s, s, l, c, m, k
    FROM unnest(%(symbols)s::text[], %(lots)s::bigint[], %(costs)s::bigint[],
                %(marks)s::bigint[], %(locks)s::text[]) AS t(s, l, c, m, k)
    ON CONFLICT (account, symbol) DO UPDATE
    SET lots = EXCLUDED.lots, cost_micro = EXCLUDED.cost_micro,
        mark_ticks = EXCLUDED.mark_ticks, lock_code = EXCLUDED.lock_code
  )
UPDATE account SET cash_micro = %(cash)s, reserved_micro = %(reserved)s,
    equity_micro = %(equity)s, peak_micro = %(peak)s, day = %(day)s,
    day_open_micro = %(day_open)s, mark_ts = %(ts)s
WHERE account = %(account)s
"""
FILL = (
    "INSERT INTO fill (fill_id, client_order_id, account, symbol, ts, side, lots,"
    " price_ticks, fee_micro, seq) VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)"
)
CLOSE = (
    "UPDATE orders SET status = %s, filled_lots = %s WHERE client_order_id = %s AND status = 'open'"
)
