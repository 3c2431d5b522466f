"""The indexes that have both a row's namespace and its state are made anew, so that they come after the ones by age.

MariaDB checks a foreign key whenever an entry of that key's index changes, and takes the first index that begins with its
column. With the state in that index, whatever ended waited for every create of its namespace, which holds the namespace's row.
"""

from django.db import migrations, models


def again(model: str, fields: list[str], name: str) -> list[migrations.operations.base.Operation]:
    return [
        migrations.RemoveIndex(model_name=model, name=name),
        migrations.AddIndex(model_name=model, index=models.Index(fields=fields, name=name)),
    ]


class Migration(migrations.Migration):

    dependencies = [
        ('sfweb', '0005_step_lanes'),
    ]

    operations = [
        *again('instance', ['namespace', 'state', 'name'], 'instances_namespa_e1b736_idx'),
        *again('network', ['namespace', 'state', 'name'], 'networks_namespa_dafdc7_idx'),
        *again('snapshotset', ['namespace', 'state', 'created_at'], 'snapshot_se_namespa_6cc43d_idx'),
    ]
