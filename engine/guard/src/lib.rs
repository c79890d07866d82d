//! Whether now: (request, ledger, policy, now) to a judgement; the only maker of a permit.
