// Pre-trains a small robust encoder on the embedded images, then attacks it: dotnet run -c Release
using System;
using AdvContrast;

var options = new PretrainOptions
{
    Method = "acl-ds",
    Network = "small",
    Images = 1000,
    Epochs = 2,
    Batch = 250,
    Optimizer = "adam",
    Threat = Threat.Linf(0.1),
};

using var run = await Workbench.PretrainAsync(options);
Console.WriteLine($"{run.Last.Steps} steps in {run.Elapsed.TotalSeconds:F0} s, last loss {run.Last.Loss:F3}");

var result = await Workbench.EvaluateAsync(run.Encoder);
foreach (var accuracy in result.Accuracies) Console.WriteLine($"{accuracy.Name,-6} {accuracy.Fraction:P1}");
