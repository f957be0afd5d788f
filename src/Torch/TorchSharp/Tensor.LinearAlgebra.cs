using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Products of matrices and vectors.
public static partial class torch
{
    public partial class Tensor
    {
        public Tensor matmul(Tensor target) => Ops.matmul.Call(this, target);
        public Tensor mm(Tensor target) => Ops.mm.Call(this, target);
        public Tensor bmm(Tensor batch2) => Ops.bmm.Call(this, batch2);
        public Tensor mv(Tensor target) => Ops.mv.Call(this, target);
        public Tensor dot(Tensor target) => Ops.dot.Call(this, target);
        public Tensor outer(Tensor vec2) => Ops.outer.Call(this, vec2);
        public Tensor inner(Tensor vec2) => Ops.inner.Call(this, vec2);
        public Tensor vdot(Tensor target) => Ops.vdot.Call(this, target);
        public Tensor ger(Tensor vec2) => Ops.ger.Call(this, vec2);

        public Tensor addmm(Tensor mat1, Tensor mat2, float beta = 1, float alpha = 1) =>
            Ops.addmm.Call(this, mat1, mat2, beta, alpha);

        public Tensor addmm_(Tensor mat1, Tensor mat2, float beta = 1, float alpha = 1) =>
            Ops.addmm_.InPlace(this, mat1, mat2, beta, alpha);

        public Tensor baddbmm(Tensor batch1, Tensor batch2, float beta = 1, float alpha = 1) =>
            Ops.baddbmm.Call(this, batch1, batch2, beta, alpha);

        public Tensor addmv(Tensor mat, Tensor vec, float beta = 1, float alpha = 1) =>
            Ops.addmv.Call(this, mat, vec, beta, alpha);

        public Tensor det() => Ops.det.Call(this);
        public Tensor inverse() => Ops.inverse.Call(this);
        public Tensor matrix_power(int n) => Ops.matrix_power.Call(this, n);
        public Tensor kron(Tensor other) => Ops.kron.Call(this, other);
    }
}
