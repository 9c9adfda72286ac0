//! Quality of service: reservation, limit and weight of traffic by tag, and the order in which it leaves. Empty so far.
