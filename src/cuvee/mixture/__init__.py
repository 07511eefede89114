"""Pure values: mixtures, schedules, feasible sets, designs and closed-form mixtures. numpy only.

Letters: D domains, N mixtures.
"""
